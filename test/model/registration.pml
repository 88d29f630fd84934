/* Registration against fence-then-scan. 2 leases (keys 0,1) in one shard, page = 1 key, 1 case.
 Flags (default = the design):
  NOMARK     lease is born LIVE, acknowledgement is only the HTTP answer (no 'registering' mark)
  LATE_IF_CLOSED  registrar writes an amendment only when the case is closed, else trusts the running scan
  NOCLAIM    no per-lease claim: every unit that meets the lease counts it
  NOCURCOND  cursor write is not conditional on the cursor read
  ISSUER_AFTER  META.issuers grown after the lease is written/acknowledged
  PTR_AFTER  pointer written after the lease
  BLINDACK   registering mark kept, but ack write is not conditional on it
   Code: functions/register/register.ts, store/leases.ts (recordLease, look, acknowledge), plan/scan.ts, store/units.ts (writeChunks), revoke/gather.ts (handOver).
   Runs:
     holds slow -DHANDOVER
     breaks -DHANDOVER -DNOMARK
     breaks -DNOCLAIM -DONE
     breaks slow -DHANDOVER -DNOCURCOND -DDUPPLAN
     breaks -DHANDOVER -DISSUER_AFTER
     breaks -DHANDOVER -DBLINDACK
*/
#define NONE 0
#define REG 1
#define LIVE 2
#define CUTTING 3
#define FINAL 4
#define LATE 5   /* with HANDOVER (the fix): registering -> late + amendment in one transaction, by registrar or chunk worker, whoever is first; chunks take acknowledged leases only */
#ifndef CR
#define CR 1
#endif
byte crashes = CR;
bit fence; bit ptr[2]; byte st[2]; bit cred[2]; bit ack[2]; bit ackBefore[2];
byte claim[2]; /* unit+1 */ byte cnt[2];
bit issuers[2]; bit contained[2];
byte cur; bit sealed; byte unit[4]; /* 0,1 chunks by key; 2,3 amendments; 0 none 1 open 2 done */
byte tries[2];
bit planned; bit closed; byte closes; byte ndone; byte nexp; bit notacked[2];

#define CRASH if :: crashes>0 -> crashes--; printf("   crash\n"); goto dead :: true fi

proctype Registrar(byte i) {
 bit f; bit c; byte s;
again:
 atomic { tries[i]<2 -> tries[i]++ }
#ifndef ISSUER_AFTER
 issuers[i]=1; /* before the pointer; merged below for size */
#endif
#ifndef PTR_AFTER
 atomic { ptr[i]=1; printf("R%d pointer\n",i); CRASH }
#endif
 atomic { if :: st[i]==NONE ->
#ifdef NOMARK
   st[i]=LIVE
#else
   st[i]=REG
#endif
   ; printf("R%d lease\n",i) :: else fi; CRASH }
#ifdef PTR_AFTER
 atomic { ptr[i]=1; printf("R%d pointer\n",i); CRASH }
#endif
 atomic { f=fence; printf("R%d reads fence %d\n",i,f); CRASH }
 if
 :: !f ->
   atomic {
#ifdef NOMARK
     ack[i]=1; ackBefore[i]=!fence; printf("R%d ACK\n",i)
#else
#ifdef BLINDACK
     if :: st[i]==REG -> st[i]=LIVE :: else fi; ack[i]=1; ackBefore[i]=!fence; printf("R%d ACK (state %d)\n",i,st[i])
     ; assert(st[i]==LIVE)
#else
     if :: st[i]==REG || st[i]==LIVE -> st[i]=LIVE; ack[i]=1; ackBefore[i]=!fence; printf("R%d ACK\n",i) :: else -> printf("R%d refused: lease already being ended\n",i) fi
#endif
#endif
     ; CRASH }
#ifdef ISSUER_AFTER
   atomic { issuers[i]=1; CRASH }
#endif
 :: f ->
#ifdef LATE_IF_CLOSED
   atomic { c=closed; printf("R%d reads case closed=%d\n",i,c); CRASH }
   if :: c -> atomic { if :: unit[2+i]==0 -> unit[2+i]=1 :: else fi; printf("R%d amends\n",i); CRASH } :: else fi
#else
#ifdef HANDOVER
   atomic { if :: st[i]==REG -> st[i]=LATE; unit[2+i]=1; printf("R%d hands over to amendment\n",i) :: else fi; CRASH }
#else
   atomic { if :: unit[2+i]==0 -> unit[2+i]=1 :: else fi; printf("R%d amends\n",i); CRASH }
#endif
#endif
 fi;
#ifdef RETRYANSWERED
 if :: tries[i]<2 -> goto again :: goto fin fi; /* the client may retry although answered */
#else
 goto fin;
#endif
dead: if :: tries[i]<2 -> goto again :: goto fin fi; /* after a crash the client retries, or never comes back */
fin: f=0; c=0
}
proctype Planner() {
 byte c; byte k;
again:
 atomic { if :: !fence -> fence=1; contained[0]=issuers[0]; contained[1]=issuers[1]; printf("P fence\n") :: else fi; CRASH }
loop:
 atomic { c=cur; CRASH }
 if :: sealed -> goto fin :: else fi;
 atomic { /* page: first pointer at or after c */
   k = 2; if :: c<=0 && ptr[0] -> k=0 :: else -> if :: c<=1 && ptr[1] -> k=1 :: else fi fi; printf("P page from %d finds %d\n",c,k); CRASH }
 if :: k<2 ->
   atomic { /* chunk + cursor in one transaction */
#ifndef NOCURCOND
     if :: cur==c ->
#else
     if :: true ->
#endif
       cur=k+1; if :: unit[k]==0 || unit[k]==2 -> unit[k]=1; nexp++ :: else -> nexp++ fi; printf("P chunk %d\n",k)
     :: else fi; CRASH };
   goto loop
 :: else ->
   atomic { if :: cur==c -> sealed=1; printf("P sealed\n") :: else fi; 
     if :: sealed && !closed && ndone==nexp -> closed=1; closes++; printf("closed\n") :: else fi; CRASH };
   goto loop
 fi;
dead: goto again;
fin: skip
}
proctype Worker() {
 byte u; byte l; bit mine; byte s;
again:
end: atomic { if :: unit[0]==1 -> u=0 :: unit[1]==1 -> u=1 :: unit[2]==1 -> u=2 :: unit[3]==1 -> u=3 fi; l=u%2 }
 atomic { s=st[l]; mine=0;
   if :: s==NONE -> skip
#ifdef HANDOVER
   :: s==REG && u<2 -> st[l]=LATE; unit[2+l]=1
   :: s==LATE && u<2 -> skip
   :: s==LIVE && u<2 -> st[l]=CUTTING; claim[l]=u+1; mine=1
   :: s==LATE && u>=2 -> st[l]=CUTTING; claim[l]=u+1; mine=1
   :: s>=CUTTING && s<LATE && claim[l]==u+1 -> mine=1
#else
#ifdef NOCLAIM
   :: s!=NONE -> mine=1; if :: st[l]<CUTTING -> st[l]=CUTTING :: else fi
#else
   :: s!=NONE && (claim[l]==0 || claim[l]==u+1) -> claim[l]=u+1; mine=1; if :: st[l]<CUTTING -> st[l]=CUTTING :: else fi
#endif
#endif
   :: else fi; printf("W%d unit %d claims %d (lease state %d)\n",_pid,u,mine,s); CRASH }
 if :: mine -> atomic { cred[l]=0; CRASH };
    atomic { st[l]=FINAL; CRASH }
 :: else fi;
 atomic { if :: unit[u]==1 -> unit[u]=2; if :: mine -> cnt[l]++; assert(cnt[l]<=1) :: else fi;
    if :: u<2 -> ndone++ :: else fi; printf("W%d unit %d done\n",_pid,u)
    :: else fi;
    if :: sealed && !closed && ndone==nexp -> closed=1; closes++; printf("closed\n") :: else fi; CRASH };
 atomic { u=0;l=0;mine=0;s=0; goto again };
dead: atomic { u=0;l=0;mine=0;s=0; goto again }
}
#ifndef NOMARK
proctype Sweeper() { byte l;   /* registering past its deadline: any time, also while the registrar is slow */
again:
end: atomic { if :: st[0]==REG -> l=0 :: st[1]==REG -> l=1 fi; st[l]=CUTTING; printf("S sweeps %d\n",l) }
 /* deterministic re-drive by its own 'expired' case; no crash modelled here: lease stays CUTTING and is found again */
 atomic { cred[l]=0; st[l]=FINAL }
 goto again
}
#endif
init { atomic { cred[0]=1; cred[1]=1; run Registrar(0); 
#ifndef ONE
 run Registrar(1);
#endif
 run Planner();
#ifdef DUPPLAN
 run Planner();
#endif
 run Worker();
#ifdef DUPWORK
 run Worker();
#endif
#ifndef NOMARK
 run Sweeper();
#endif
 }
 timeout;
 printf("end st %d %d cred %d %d ack %d %d closed %d\n",st[0],st[1],cred[0],cred[1],ack[0],ack[1],closed);
 assert(closed && closes==1);
 assert(st[0]==NONE || !cred[0]); assert(st[1]==NONE || !cred[1]);
 assert(!ack[0] || !cred[0]); assert(!ack[1] || !cred[1]);
 assert(!ackBefore[0] || contained[0]); assert(!ackBefore[1] || contained[1]);
}
